"""From a trained model to a release."""
