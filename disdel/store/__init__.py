"""What the controller and the actions exchange through Redis."""
