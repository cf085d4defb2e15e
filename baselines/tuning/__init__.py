"""What the tuned baselines share: recipes, batches, the fine-tuning loop, class images, samplers."""
