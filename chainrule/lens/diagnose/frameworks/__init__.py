"""What diagnose needs of a framework: chainrule itself, and PyTorch."""
