"""What may be trained beside a frozen base instead of a whole ControlNet, and the base in few bits beside it."""
