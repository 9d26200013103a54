{{- /* Names, labels and images: each is made here once. */}}

{{- define "atelier.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- /* Objects without namespace carry the release's namespace, so that two releases do not meet. */}}
{{- define "atelier.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "atelier.fullname" .) | trimPrefix "-" }}
{{- end }}

{{- define "atelier.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "atelier.fullname" .) }}
{{- end }}

{{- /* The operator's username at the API server. */}}
{{- define "atelier.username" -}}
{{ printf "system:serviceaccount:%s:%s" .Release.Namespace (include "atelier.serviceAccount" .) }}
{{- end }}

{{- /* Labels that select the operator's pods; a run's NetworkPolicy lets pods in that carry them. */}}
{{- define "atelier.operatorLabels" -}}
app.kubernetes.io/name: atelier
app.kubernetes.io/component: operator
{{- end }}

{{- define "atelier.labels" -}}
{{ include "atelier.operatorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* An image's reference: the digest wins over the tag. Takes a list of the image's values and the root. */}}
{{- define "atelier.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) }}
{{- end -}}
{{- end }}
