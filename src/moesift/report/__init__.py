"""The comparison and the estimate, as numbers, figures and pages."""
