{{- define "wetread.name" -}}
{{- printf "%s-wetread" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "wetread.selector" -}}
app.kubernetes.io/name: wetread
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wetread.labels" -}}
{{ include "wetread.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* image: repository, tag, digest; version: the tag without one */ -}}
{{- define "wetread.image" -}}
{{- with .image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.version }}{{ end }}
{{- end -}}
{{- end }}

{{- define "wetread.ownImage" -}}
image: {{ include "wetread.image" (dict "image" .Values.image "version" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "wetread.podSecurity" -}}
serviceAccountName: {{ include "wetread.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "wetread.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* A process is known among others by the name of its pod. */ -}}
{{- define "wetread.env" -}}
- name: WETREAD_WORKERS__NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}

{{- define "wetread.mounts" -}}
- {name: config, mountPath: /etc/wetread, readOnly: true}
- {name: secret, mountPath: /run/secrets/wetread, readOnly: true}
- {name: spool, mountPath: /var/lib/wetread/spool}
- {name: models, mountPath: /var/lib/wetread/models, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "wetread.volumes" -}}
- name: config
  configMap: {name: {{ include "wetread.name" . }}}
- name: secret
  secret:
    secretName: {{ .Values.secret.existing | default (include "wetread.name" .) }}
    defaultMode: 0440
- name: spool
  persistentVolumeClaim: {claimName: {{ include "wetread.name" . }}-spool}
- name: models
  persistentVolumeClaim: {claimName: {{ include "wetread.name" . }}-models}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- end }}

{{- define "wetread.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "wetread.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "wetread.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}
