"""Do synthetic images train a better dementia classifier from brain MRI? The library behind the book."""
