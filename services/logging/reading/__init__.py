"""Reading under grants: who, which records, at what detail, and until when."""
