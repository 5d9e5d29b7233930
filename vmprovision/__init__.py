"""vmprovision: one inventory, provision.ini, to all that a boot needs: roots, images, boot files. Run on the boot server."""
