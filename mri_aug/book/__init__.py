"""What the pages of the book are made with: figures, diagrams, tables. Importing it needs no torch."""
