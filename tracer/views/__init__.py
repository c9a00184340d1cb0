"""Pure functions from a trace to text or markup. None runs a model, none prints."""
