"""Training loops: the warm-up of the selector's routers, and LoRA tuning."""
