"""How Kept is put to work: the local stack, images, manifests."""
