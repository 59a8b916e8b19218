"""One function for each thing that Egret does, written on ports alone."""
