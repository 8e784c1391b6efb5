"""What backward computes with: found where it is not what the forward computed with."""
