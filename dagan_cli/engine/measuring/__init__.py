"""What running a network costs and needs, where it cannot be known from its configuration."""
