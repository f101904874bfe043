"""Do synthetic images train a better dementia classifier from brain MRI? The library behind the book.

Importing the package alone is light: it loads no module. The README lists the modules by layer.
"""
