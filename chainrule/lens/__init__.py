"""What a network computes, why it fails to learn, and what its answers mean."""
