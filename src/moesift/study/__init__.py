"""What the scores are worth, on pools whose corruptions are labelled."""
