"""KeyService. SKELETON: `KeyServicer(custody)`."""
