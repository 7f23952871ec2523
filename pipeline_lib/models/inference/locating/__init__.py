"""Find animals in frames first, and then predict in windows around them."""
