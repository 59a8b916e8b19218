"""What the parts of Egret say to each other: wire types, stored settings and ports."""
