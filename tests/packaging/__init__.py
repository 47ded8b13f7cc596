"""What is handed to sites: the wheel, the staged folders, the container."""
