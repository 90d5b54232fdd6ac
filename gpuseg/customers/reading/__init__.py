"""From any source to checked records (inside customers; everything else there takes what it makes)."""
