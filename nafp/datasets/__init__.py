"""The folder of a public dataset in, a manifest out; one file for each dataset."""
