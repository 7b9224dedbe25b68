"""What did happen: records that the kernel sent, joined with names and reasons, in a bounded ring. Floor 4."""
