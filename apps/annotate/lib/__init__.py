"""What the annotation app adds to MONAI Label: tasks from bundles, stores, and a guard."""
