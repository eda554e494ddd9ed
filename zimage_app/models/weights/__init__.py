"""Weight files: headers, key names, quantised formats (packings), packed weights and slices of them."""
