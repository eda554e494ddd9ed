"""The bar at the top: figures of the machine, and the details behind them."""
