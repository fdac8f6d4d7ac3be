"""The prompt study: do severity, place and number of buildings follow the prompt?"""
