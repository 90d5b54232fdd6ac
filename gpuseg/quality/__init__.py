"""How good a segmentation is: silhouettes, and the choice of k from evidence."""
