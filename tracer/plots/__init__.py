"""Figures; the only room that knows matplotlib, which `pip install -e '.[figures]'` brings."""
