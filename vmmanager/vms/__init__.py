"""Virtual machines in the manager: where each is, what is ordered, where it goes, who keeps it as it is wanted."""
