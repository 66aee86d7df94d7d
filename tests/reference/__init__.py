"""Independent computations that the product is compared with, and small made-up models."""
