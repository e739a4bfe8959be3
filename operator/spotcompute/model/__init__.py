"""The nouns every room shares: values without behaviour beyond themselves, in our words, not the vendor's."""
