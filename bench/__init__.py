"""What Egret costs and how fast it is, measured: `python -m bench`."""
