"""What the server shows at /: one page, made of the files here, that asks it for everything else."""
