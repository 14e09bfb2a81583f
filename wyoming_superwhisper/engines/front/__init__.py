"""The front's side of the workers: their processes, the calls on their way, and the engines' interfaces over them."""
