"""The processes of the environments: started, frozen, measured, ended."""
