"""Images of machines that run wholly from RAM, built of Debian packages: a library of small parts."""
