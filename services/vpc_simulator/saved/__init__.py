"""The cloud as a file: everything it knows, what is under way, and the answers it gave."""
