"""The stages of a trace as a flow: which tensor goes where, found in the run and laid out for a drawing."""
