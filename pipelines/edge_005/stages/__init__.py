"""What a meter station does, stage by stage."""
