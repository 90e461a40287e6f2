"""What the vendor says of itself, to customers and the public: terms, sub-processors, documents."""
