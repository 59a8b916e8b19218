"""Tests of Egret, from single modules to real peers."""
