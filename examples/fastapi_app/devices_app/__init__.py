"""An application of somebody's own, with hsorm in it."""
