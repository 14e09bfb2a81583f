"""The steps of a turn, over the engines' interfaces: listening, answering, speaking."""
