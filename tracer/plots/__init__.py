"""Figures; the only room that knows matplotlib, which `pip install 'annotated-video-dit[figures]'` brings."""
