"""What is often got wrong, beside the right rule."""
