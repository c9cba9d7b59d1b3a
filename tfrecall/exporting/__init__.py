"""Export of trained models as releases."""
