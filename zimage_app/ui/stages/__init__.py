"""The tabs of the stages."""
