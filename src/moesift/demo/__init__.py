"""What only the demonstration needs: tiny models that are pretrained here, and data and a small model from wheels."""
